"""The embedded stack's reverse proxy: all services under the portal's origin."""
