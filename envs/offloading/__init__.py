"""Offloading: what runs on the device, at the edge or in the cloud, and where a network is split."""
