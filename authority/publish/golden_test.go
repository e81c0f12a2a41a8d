package publish

import (
	"encoding/hex"
	"testing"
)

func fromHex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// goldenSet is the trust set of the keys of RFC 8032 section 7.1; the second kid is
// the one of RFC 8037 appendix A.3. It is never regenerated.
const goldenSet = `{"keys":[{"alg":"EdDSA","crv":"Ed25519","kid":"FtIu-VbGrfe_KB6CH7GNwODB72MNxj_ml11dEvO-7kk","kty":"OKP","use":"sig","x":"PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw"},{"alg":"EdDSA","crv":"Ed25519","kid":"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k","kty":"OKP","use":"sig","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`
