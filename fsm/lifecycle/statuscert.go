package lifecycle

// StatusUsage is the extended key usage (RFC 5280 section 4.2.1.12) of certificates
// for status keys, as the arcs of an object identifier below 2.25 (ITU-T X.667). It
// is looked at below a cluster's own CA only, so it has to be unlike every usage of
// TLS and of signing code, and need not be registered.
func StatusUsage() []int { return []int{2, 25, 1663218579, 1} }
