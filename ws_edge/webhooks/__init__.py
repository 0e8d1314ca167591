"""Webhooks: telling other programs that a run has ended. docs/webhooks.md says what they receive."""
