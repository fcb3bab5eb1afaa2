"""How Medled is run: the command line, the embedded stack, topics, images and manifests."""
