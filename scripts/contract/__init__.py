"""Makes the schemas, the tables of broker/PROTOCOL.md and the client's types from the message types of the code."""
