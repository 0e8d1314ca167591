"""`testcast mcp`: coding agents submit games, follow runs and see what was found, over the Model Context Protocol.

It is the only room that knows the protocol's SDK, which the extra `mcp` brings.
"""
