"""Hosts from a distance: commands and elements, over a circuit or over what stands in for one."""
