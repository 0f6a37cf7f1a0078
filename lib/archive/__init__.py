"""Archive: old finished sessions leave the live lists."""
