"""A team on one Postgres and one bucket: two flows, four services and a monitor at once, and what is counted afterwards."""
