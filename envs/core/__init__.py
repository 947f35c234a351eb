"""What all families share: scenarios, the simulator's protocol, the faces."""
