"""What travels: the contract, by version."""
