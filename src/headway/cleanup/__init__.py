"""``headway gc``: what a project no longer needs, and its removal. Nothing here decides who is champion."""

from headway.cleanup.plan import Group, plan

__all__ = ["Group", "plan"]
