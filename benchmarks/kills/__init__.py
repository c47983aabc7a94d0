"""Kills by SIGKILL at random moments of every kind of job, and whether the same command afterwards ends as without one."""
