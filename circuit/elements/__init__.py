"""What anchors hold, as a client sees it: processes, channels, subscriptions, servers, and their streams."""
