package main

import (
	"net/http"
	"testing"

	"github.com/chancery-project/chancery/transport/wire"
)

// TestConsumerNames: what -o name prints can be given to consumer show, each once.
func TestConsumerNames(t *testing.T) {
	list := wire.ConsumerList{
		Items: []wire.ConsumerView{
			{Name: "deploy-eu", Class: "required", Owner: "eu@example.com", Keys: []wire.ConsumerKey{{Key: "ci"}, {Key: "web"}}},
			{Name: "deploy-us", Class: "required", Owner: "us@example.com", Keys: []wire.ConsumerKey{{Key: "ci"}}},
		},
		Shadow: []wire.ShadowConsumer{{Key: "web", Address: "192.0.2.0/24", Agent: "curl", Fetches: 3}},
	}
	got := against(t, func(w http.ResponseWriter, _ *http.Request) { respond(w, list) }, "consumer list -o name")
	if got.code != exitDone || got.out != "deploy-eu\ndeploy-us\n" {
		t.Errorf("%+v", got)
	}
}
