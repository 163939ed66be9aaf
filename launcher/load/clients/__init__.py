"""How the gateway is loaded: clients of each protocol, cheap enough to leave the machine to what is measured."""
