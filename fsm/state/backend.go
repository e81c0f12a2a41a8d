package state

// Reader reads raw rows of one table.
type Reader interface {
	// Get returns the row's bytes, nil when absent. They are valid until the
	// transaction ends.
	Get(table Table, key string) []byte
	// Ascend calls fn for each row with key >= from in key order until fn
	// returns false. Bytes are valid during the call.
	Ascend(table Table, from string, fn func(key string, row []byte) bool)
}

// Backend is the transaction Apply writes to.
type Backend interface {
	Reader
	Put(table Table, key string, row []byte)
	Delete(table Table, key string)
}

// Table names a table; the name is also the bucket's in the state file.
type Table string

const (
	TableMeta          Table = "meta"          // position, clock, digest; not part of the digest itself
	TableCluster       Table = "cluster"       // one row
	TableNodes         Table = "nodes"         // node id
	TableKeys          Table = "keys"          // key name
	TableVersions      Table = "versions"      // key name, version
	TableInstances     Table = "instances"     // key name, version, node id
	TableKIDs          Table = "kids"          // kid -> instance
	TablePrincipals    Table = "principals"    // name
	TableCerts         Table = "certs"         // SPKI hash -> principal
	TableTokens        Table = "tokens"        // token id
	TableSecrets       Table = "secrets"       // hash of a token's secret -> token id
	TableJoinTokens    Table = "jointokens"    // id
	TableFences        Table = "fences"        // phase, index of the entry that opened it
	TableProposals     Table = "proposals"     // "0" while they wait or "1", id
	TableConsumers     Table = "consumers"     // name
	TableDependents    Table = "dependents"    // key name, consumer -> consumer
	TableConfirmations Table = "confirmations" // consumer, key name, instance label
	TableSigned        Table = "signed"        // key name, version, node id: what the instance has signed
	TableLedgers       Table = "ledgers"       // node id
	TableRecorded      Table = "recorded"      // SHA-256 of a signature -> the leaf in which it stands; follows from the log
	TableDeliveries    Table = "deliveries"    // name of the webhook
	TableOperations    Table = "operations"    // request id, principal
	TableLog           Table = "log"           // leaf number; covered by the log root, not by the digest
	TableLogHashes     Table = "loghashes"     // RFC 6962 stored-hash number; likewise
)

const (
	// Certificates. The indexes follow from the rows of the certificates; their keys end
	// in the serial and the values that are named are all they hold.
	TableIssuers        Table = "issuers"        // key name
	TableCACerts        Table = "cacerts"        // key name, version, node id
	TableProfiles       Table = "profiles"       // name
	TableCRLs           Table = "crls"           // kid, shard
	TableResponders     Table = "responders"     // kid, node id
	TableTallies        Table = "certtallies"    // kid
	TableCertificates   Table = "certificates"   // serial
	TableCertDERs       Table = "certders"       // serial; the certificate itself, whose TBS hash is in its row
	TableRevoked        Table = "revoked"        // kid in binary, serial; NotAfter and the entry of the CRL
	TableCertNames      Table = "certnames"      // name, NUL
	TableCertRequesters Table = "certrequesters" // requester, NUL
	TableCertKeys       Table = "certkeys"       // SHA-256 of the SPKI
	TableCertExpiry     Table = "certexpiry"     // NotAfter; the first bytes of the kid
	TableCertIntents    Table = "certintents"    // entry; serials and deadlines of what it announced and nobody recorded yet
	TableCertRequests   Table = "certrequests"   // request id in binary, requester; serial and digest of the request
)

// Tables lists every table in the order snapshots use.
var Tables = []Table{TableMeta, TableCluster, TableNodes, TableKeys, TableVersions, TableInstances, TableKIDs,
	TablePrincipals, TableCerts, TableTokens, TableSecrets, TableJoinTokens, TableFences, TableProposals,
	TableConsumers, TableDependents, TableConfirmations, TableDeliveries,
	TableIssuers, TableCACerts, TableProfiles, TableCRLs, TableResponders, TableTallies,
	TableCertificates, TableCertDERs, TableRevoked, TableCertNames, TableCertRequesters, TableCertKeys, TableCertExpiry, TableCertIntents, TableCertRequests,
	TableSigned, TableLedgers, TableRecorded, TableOperations, TableLog, TableLogHashes}

// Hot reports whether the table's rows are also kept decoded in memory.
func (t Table) Hot() bool {
	switch t {
	case TableMeta, TableCertificates, TableRevoked, TableOperations, TableLog, TableLogHashes:
		return false
	}
	return !t.Index()
}

// Index reports whether the table's rows follow from those of other tables, or stand
// behind a hash in them as the certificates themselves do. There are several for each
// certificate, so the digest has a sum of them that is cheap to keep (SumHash).
func (t Table) Index() bool {
	switch t {
	case TableRecorded, TableCertDERs, TableCertNames, TableCertRequesters, TableCertKeys, TableCertExpiry, TableCertIntents, TableCertRequests:
		return true
	}
	return false
}

// Digested reports whether the set hash of the state covers the table.
func (t Table) Digested() bool {
	switch t {
	case TableMeta, TableLog, TableLogHashes:
		return false
	}
	return !t.Index()
}
