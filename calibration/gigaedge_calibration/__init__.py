"""What an integrator needs before the policy may see or move anything."""
