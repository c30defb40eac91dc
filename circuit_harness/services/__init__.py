"""What can be deployed: the protocol of a service, and services with parameters."""
