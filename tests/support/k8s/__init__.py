"""Renders the manifests of deploy/k8s and checks them."""
