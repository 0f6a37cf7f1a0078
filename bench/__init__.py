"""What Switchboard costs, measured over its real HTTP functions."""
