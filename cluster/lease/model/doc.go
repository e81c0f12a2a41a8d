// Package model holds the revocation barrier of package lease as a model for spin,
// and the test that has it checked. It has no code of its own.
package model
