"""Webhook deliveries: verified, stored, queued."""
