"""Signing in: OIDC code flow with PKCE, once for all services."""
