"""One module for each command of `medled`."""
