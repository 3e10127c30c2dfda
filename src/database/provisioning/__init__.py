"""Provisioning: migrate, compare the catalog with the code, and apply the differences."""
