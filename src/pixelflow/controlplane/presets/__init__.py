"""Presets: named, versioned pipelines of users."""
