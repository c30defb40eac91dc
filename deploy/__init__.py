"""What is deployed: the tutorial's services."""
