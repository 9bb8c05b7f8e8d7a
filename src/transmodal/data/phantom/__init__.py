"""A digital head: random anatomy, images from physics, and the truth about both. Test bed and demonstration."""
