"""What a run writes when it is over: run.json, JUnit's properties, the page for people."""
