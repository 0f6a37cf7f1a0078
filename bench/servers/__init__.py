"""The servers of the cost measure: a model, and the systems that Switchboard is compared with."""
