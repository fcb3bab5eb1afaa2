"""From a fact to a message: who is told, in which language, or why nobody is."""
