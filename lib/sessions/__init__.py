"""Sessions: lifecycle, lists, takeovers, templates, statistics."""
