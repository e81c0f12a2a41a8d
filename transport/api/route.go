package api

import (
	"reflect"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

// kind says how a route treats identity, state and the leader.
type kind uint8

const (
	open   kind = iota + 1 // no identity: describes the API itself
	entry                  // no identity yet: logging in, on the leader
	read                   // any node, from a state as fresh as asked for
	sign                   // any node; the signer looks at the state by itself
	change                 // the leader; has a request id, answers an operation
)

// route is one row of the table.
type route struct {
	name    string // operationId, and label of metrics
	kind    kind
	method  string
	pattern string
	summary string
	limit   int64    // of the body in bytes; 0 = takes none
	query   []string // parameters, all optional
	in, out reflect.Type
	ifMatch bool              // needs If-Match
	levels  []authority.Level // that ?wait= may name
	level   authority.Level   // to wait for when ?wait= names none, "" = none
	anyAge  bool              // answered from an old state too, marked, unless the caller asks for more
	media   string            // of the answer, "" = JSON
	handle  func(*call) (any, error)

	metrics *transport.RouteMetrics
}

func of[T any]() reflect.Type { return reflect.TypeFor[T]() }

// Parameters that many routes share.
var (
	paged    = []string{wire.QueryLimit, wire.QueryCursor}
	planWait = []string{wire.QueryPlan, wire.QueryWait, wire.QueryWithin}
)

func with(list []string, more ...string) []string { return append(list[:len(list):len(list)], more...) }

// reading is a GET without a body.
func reading[Out any](name, pattern, summary string, handle func(*call) (any, error), query ...string) *route {
	return &route{name: name, kind: read, method: "GET", pattern: pattern, summary: summary, query: query, out: of[Out](), handle: handle}
}

// changing is a POST that answers an operation.
func changing[In any](name, pattern, summary string, handle func(*call, *In) (any, error)) *route {
	return &route{name: name, kind: change, method: "POST", pattern: pattern, summary: summary, limit: wire.MaxAdminBytes,
		query: planWait, levels: []authority.Level{authority.Committed}, in: of[In](), out: of[wire.Operation](), handle: decoded(handle)}
}

// decoded reads the body before the handler sees it.
func decoded[In any](handle func(*call, *In) (any, error)) func(*call) (any, error) {
	return func(c *call) (any, error) {
		in := new(In)
		if err := c.decode(in); err != nil {
			return nil, err
		}
		return handle(c, in)
	}
}

func (r *route) put() *route                   { r.method, r.ifMatch = "PUT", true; return r }
func (r *route) by(method string) *route       { r.method = method; return r }
func (r *route) answers(t reflect.Type) *route { r.out = t; return r }
func (r *route) as(k kind, limit int64) *route {
	r.kind, r.limit, r.query = k, limit, nil
	return r
}
func (r *route) waits(k command.Kind) *route {
	if r.levels = authority.Levels(k); authority.DefaultLevel(k) != authority.Committed {
		r.level = authority.DefaultLevel(k)
	}
	return r
}
func (r *route) until(levels []authority.Level) *route { r.levels = levels; return r }
func (r *route) old() *route                           { r.anyAge = true; return r }
func (r *route) sends(media string) *route             { r.media, r.out = media, nil; return r }

// nothing is the body of a verb without arguments.
type nothing struct{}

// routes is the table: every path of the listener, in the order of the
// documentation.
func routes() []*route {
	var all []*route
	for _, group := range [][]*route{keyRoutes(), rotationRoutes(), signRoutes(), accessRoutes(), nodeRoutes(), issuerRoutes(), certificateRoutes(), consumerRoutes(), proposalRoutes(), recordRoutes()} {
		all = append(all, group...)
	}
	return append(all, &route{name: "openapi", kind: open, method: "GET", pattern: wire.PathOpenAPI,
		summary: "This description", media: wire.TypeJSON, handle: (*call).openAPI})
}

func keyRoutes() []*route {
	return []*route{
		changing("key.create", wire.PathKeys, "Make a key with its first version", (*call).createKey).waits(command.KindCreateKey),
		reading[wire.List[wire.KeySummary]]("key.list", wire.PathKeys, "List keys in name order", (*call).listKeys,
			with(paged, wire.QuerySelector, wire.QueryPurpose, wire.QueryState, wire.QueryOwner)...),
		reading[wire.Key]("key.show", wire.PathKey, "A key with its versions and instances", (*call).showKey),
		reading[wire.List[wire.Version]]("key.versions", wire.PathVersions, "The versions of a key, newest first", (*call).listVersions),
		reading[wire.List[wire.Event]]("key.history", wire.PathHistory, "What happened to a key, oldest first", (*call).keyHistory, paged...),
		reading[wire.Policy]("key.policy.get", wire.PathPolicy, "The policy of a key", (*call).showPolicy),
		changing("key.policy.set", wire.PathPolicy, "Replace the policy of a key", (*call).setPolicy).put().waits(command.KindSetPolicy).governed(),
		reading[nothing]("key.export", wire.PathExport, "Public keys: the trust set, or one version, node or kid", (*call).exportKey,
			wire.QueryVersion, wire.QueryKID, wire.QueryNode, queryFormat).sends(wire.TypeJWKS),
		changing("key.confirm", wire.PathConfirmPurpose, "Say again why a key exists", (*call).confirmPurpose),
		changing("key.rotate", wire.PathRotate, "Prepare the next version", (*call).rotateKey).waits(command.KindPrepareVersion),
		changing("key.activate", wire.PathActivate, "Make a published version the one that signs", (*call).activateVersion).waits(command.KindActivateVersion).governed(),
		changing("key.suspend", wire.PathSuspend, "Stop a version from signing until it is resumed", (*call).suspendVersion).waits(command.KindSuspendVersion),
		changing("key.resume", wire.PathResume, "End a suspension", (*call).resumeVersion).governed(),
		changing("key.deactivate", wire.PathDeactivate, "End the signing life of a version", (*call).deactivateVersion).waits(command.KindDeactivateVersion),
		changing("key.revoke", wire.PathRevoke, "Withdraw trust", (*call).revokeKey).waits(command.KindRevoke),
		changing("key.destroy", wire.PathDestroy, "Erase the private keys of a version after the waiting period", (*call).destroyVersion).waits(command.KindScheduleDestroy).governed(),
		changing("key.replace", wire.PathReplace, "Revoke and re-issue in one act", (*call).replaceKey).waits(command.KindReplace),
	}
}

func signRoutes() []*route {
	return []*route{
		changing("key.sign", wire.PathSign, "Sign a message, a digest, or many", (*call).signBytes).as(sign, wire.MaxBatchBytes).answers(of[wire.Signature]()),
		changing("key.jwt", wire.PathJWT, "Sign a token", (*call).signToken).as(sign, wire.MaxSignBytes).answers(of[wire.JWT]()),
		changing("key.verify", wire.PathVerify, "Verify a signature or a token", (*call).verify).as(read, wire.MaxSignBytes).answers(of[wire.Verification]()),
	}
}

func accessRoutes() []*route {
	return []*route{
		reading[wire.List[wire.Principal]]("principal.list", wire.PathPrincipals, "List principals", (*call).listPrincipals, paged...),
		changing("principal.add", wire.PathPrincipals, "Add a principal, or change one", (*call).addPrincipal).waits(command.KindAddPrincipal).governed(),
		reading[wire.Principal]("principal.show", wire.PathPrincipal, "A principal", (*call).showPrincipal),
		changing("principal.revoke", wire.PathRevokePrincipal, "End a principal and its tokens", (*call).revokePrincipal).waits(command.KindRevokePrincipal).governed(),
		reading[wire.List[wire.Token]]("token.list", wire.PathTokens, "List tokens: one's own, or all", (*call).listTokens, with(paged, wire.QueryActor)...),
		changing("token.create", wire.PathTokens, "Make a bearer token; its secret is in the answer and nowhere else", (*call).createToken).answers(of[wire.CreatedToken]()),
		reading[wire.Token]("token.show", wire.PathToken, "A token without its secret", (*call).showToken),
		changing("token.revoke", wire.PathRevokeToken, "End a token", (*call).revokeToken).waits(command.KindRevokeToken),
		changing("login.challenge", wire.PathChallenge, "Ask for a text to sign", (*call).challenge).as(entry, wire.MaxLoginBytes).answers(of[wire.Challenge]()),
		changing("login", wire.PathLogin, "Trade a signed challenge for a token", (*call).login).as(entry, wire.MaxLoginBytes).answers(of[wire.Login]()),
		reading[wire.WhoAmI]("auth.whoami", wire.PathWhoAmI, "Who the caller is taken for", (*call).whoAmI),
		changing("auth.can-i", wire.PathCanI, "Whether the caller may do something", (*call).canI).as(read, wire.MaxLoginBytes).answers(of[wire.Decision]()),
	}
}

func nodeRoutes() []*route {
	return []*route{
		reading[wire.List[wire.Node]]("node.list", wire.PathNodes, "Members and former members, all of them unless a limit is given", (*call).listNodes, paged...),
		reading[wire.Node]("node.show", wire.PathNode, "A node", (*call).showNode),
		changing("node.token", wire.PathJoinTokens, "Let one node in", (*call).createJoinToken).answers(of[wire.JoinToken]()),
		changing("node.promote", wire.PathPromote, "Give a node a vote, or let it sign", (*call).promoteNode).waits(command.KindSetNodeRoles),
		changing("node.quarantine", wire.PathQuarantine, "Stop a node from signing, or take that back", (*call).quarantineNode).waits(command.KindSetNodeStatus),
		changing("node.unseal", wire.PathUnseal, "Let a node sign again that was sealed on its own machine", (*call).unsealNode).governed(),
		changing("node.remove", wire.PathRemoveNode, "Take a node out", (*call).removeNode).waits(command.KindSetNodeStatus),
		changing("node.rebuild", wire.PathRebuild, "Let a node with a wiped data directory come back", (*call).rebuildNode),
		changing("node.reprovision", wire.PathReprovision, "Give up what a node's key store has lost, and have new key pairs made", (*call).reprovisionNode).answers(of[wire.Reprovisioned]()),
		changing("cluster.transfer-leader", wire.PathTransferLeader, "Hand leadership over", (*call).transferLeader),
		reading[wire.Cluster]("cluster.show", wire.PathCluster, "What must agree everywhere", (*call).showCluster),
		changing("cluster.set", wire.PathCluster, "Replace the settings", (*call).setCluster).put().waits(command.KindSetSettings).governed(),
		changing("cluster.rotate-gossip-key", wire.PathRotateGossip, "Have the leader draw a new gossip key", (*call).rotateGossipKey),
	}
}

func recordRoutes() []*route {
	return []*route{
		reading[wire.List[wire.Operation]]("operation.list", wire.PathOperations, "Remembered requests, newest first", (*call).listOperations, with(paged, wire.QueryActor)...),
		reading[wire.Operation]("operation.show", wire.PathOperation, "What became of a request", (*call).showOperation, wire.QueryWait, wire.QueryWithin).until(authority.AllLevels),
		reading[wire.List[wire.Event]]("event.list", wire.PathEvents, "Events: a page, a long poll with wait, or a stream for Accept: text/event-stream", (*call).events,
			with(paged, wire.QueryFrom, wire.QueryKey, wire.QueryKind, wire.QueryWait)...),
		reading[wire.List[wire.LogEntry]]("log.list", wire.PathLog, "Leaves of the lifecycle log", (*call).listLog, with(paged, wire.QueryFrom)...),
		reading[wire.LogProof]("log.proof", wire.PathLogProof, "Proof that the log has a leaf, or extends one of another size", (*call).proveLog, wire.QueryLeaf, wire.QueryOldSize),
		reading[wire.List[wire.AuditRecord]]("audit.list", wire.PathAudit, "Records of this node's audit journal", (*call).listAudit,
			with(paged, wire.QueryKey, wire.QueryVersion, wire.QueryKID, wire.QueryActor, wire.QueryNode, wire.QuerySince, wire.QueryUntil)...),
		reading[wire.AuditCheck]("audit.check", wire.PathAuditCheck, "Walk along this node's audit chain", (*call).checkAudit),
		reading[wire.Status]("status", wire.PathStatus, "The cluster as this node sees it, problems first", (*call).showStatus).old(),
		reading[wire.List[wire.InventoryItem]]("report.inventory", wire.PathInventory, "Every instance of every key, as JSON or CSV", (*call).inventory, with(paged, queryFormat)...),
		reading[wire.RotationReport]("report.rotation", wire.PathRotationReport, "Keys outside their policy, and how many are inside", (*call).rotationReport, with(paged, queryFormat)...),
		reading[wire.List[wire.DependentOf]]("report.dependents", wire.PathDependents, "Who verifies and who signs with a key", (*call).dependentsReport, queryFormat),
		reading[wire.SignatureReport]("report.signatures", wire.PathSignatureReport, "What a key has signed, by every node's ledger, and how much of that is known", (*call).signatureReport,
			with(paged, wire.QueryVersion, wire.QueryKID, wire.QuerySince, wire.QueryUntil, queryFormat)...),
		reading[nothing]("snapshot.save", wire.PathSnapshot, "A snapshot of the state", (*call).saveSnapshot).sends(wire.TypeBinary),
	}
}

// queryFormat chooses an encoding: pem, der, jwks or ssh of keys, json or csv of
// reports.
const queryFormat = "format"
