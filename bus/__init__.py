"""The bus: moves protobuf frames between processes over ZeroMQ, and gives every service its loop."""
