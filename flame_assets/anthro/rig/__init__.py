"""Joints and skinning weights."""
