"""How a training went: progress while it runs, and the learning curve afterwards."""
