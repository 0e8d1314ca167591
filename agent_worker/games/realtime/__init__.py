"""Playing a game whose time cannot be owned: by watching it, against the machine's clock. It claims less."""
