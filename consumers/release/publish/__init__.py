"""What follows a load: publishing, proving, standing, rebuilding, and taking away."""
