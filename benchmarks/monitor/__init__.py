"""How often the monitor raises a false alarm, and how soon it notices a change, by simulation."""
