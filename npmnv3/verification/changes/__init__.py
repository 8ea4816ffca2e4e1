"""The known faults of ports, each as a change of the reference that gives what a port with this fault gives: `table`
lists them."""
