/* The revocation barrier of package lease, for spin.
 *
 * One node that signs, the leader of term 1 (who may be deposed and not know it), the
 * leader of term 2 (who may be elected at any moment, or never), and one narrowing
 * entry R with index 1. Time is a counter. Any process may stand still while it
 * advances, which covers stopped processes, slow networks, slow key stores and slow
 * collectors. Messages are lost or late, and late grants meet later questions.
 *
 * Two claims are asserted: no gate is passed after fenced, and no client of ours
 * accepts a signature after settled.
 *
 * Each broken variant that barrier_test.go names is one error of design, switched on by
 * that name.
 */
#ifndef REQUESTS
#define REQUESTS 2          /* leases that the node asks for */
#endif
#ifndef LEASE
#define LEASE 2             /* length of a lease; clocks run alike here, the ratios of Terms are for those that do not */
#endif
#ifndef HORIZON
#define HORIZON 5           /* time ends here */
#endif
#define AGE 1               /* a client gives a request up when it is older */

byte now = 0;
byte term = 1;              /* the newest term that a majority of voters has voted in */
byte electedAt = 0;         /* when term 2 began */
byte known[3];              /* FSM index of leader t */
byte bound[3];              /* leader t: then the node's leases from t have ended */
byte committed = 0;
bool fenced = false;
bool settled = false;
bool over = false;          /* nothing can be released any more: the rest is of no interest */

/* the node; everything but acked is lost in a restart */
byte applied = 0;
bool gate = false;          /* a request is inside the release gate */
bool acked = false;         /* the node has applied R, drained its gate and said so */
byte asked = 0;             /* its outstanding question, 0 = none */
byte askedAt = 0;           /* read before the question was sent */
byte next = 1;
byte end = 0, min = 0;      /* the lease in use: until when, and from which index on */
byte end2 = 0, min2 = 0;    /* a newer one whose index is not applied yet */

chan ask1 = [1] of { byte };
chan ask2 = [1] of { byte };
chan grants = [2] of { byte, byte };    /* question, index */

/* A lease for a state at index 0, which is the one without R: with R nothing is released. */
#define USABLE (now < end && min == 0 || now < end2 && min2 == 0)

proctype Clock() provided (!over) {
  do
  :: atomic { now < HORIZON -> now++;
       /* what has ended is forgotten, so that more states are equal */
       if :: end <= now -> end = 0; min = 0 :: else fi;
       if :: end2 <= now -> end2 = 0; min2 = 0 :: else fi;
       if :: bound[1] <= now -> bound[1] = 0 :: else fi;
       if :: bound[2] <= now -> bound[2] = 0 :: else fi }
  :: now == HORIZON -> break
  od
}

/* Grantor: Record, the round of the voters, Grant. */
proctype Leader(byte t) provided (!over) {
  byte id, idx;
end_l:
  do
  :: atomic { (t == 1 && nempty(ask1) || t == 2 && term == 2 && nempty(ask2)) ->
       if :: t == 1 -> ask1?id :: else -> ask2?id fi;
       idx = known[t];
#ifndef INDEX_BEFORE_RECORD
       bound[t] = now + LEASE
#endif
     };
#ifdef INDEX_BEFORE_RECORD
     bound[t] = now + LEASE;
#endif
     atomic {
       if
#ifndef NO_CONFIRMATION
       :: term != t -> skip                               /* a majority has voted in another term */
#endif
       :: else -> if :: grants!id,idx :: skip fi
       fi;
       id = 0; idx = 0 }
  od
}

proctype Election() provided (!over) {
  if
  :: atomic { term = 2; electedAt = now; known[2] = committed }
  :: skip
  fi
}

/* Replication reaches the node late or never; then it drains its gate and says so. */
proctype Apply() provided (!over) {
end_a:
  do
  :: atomic { committed == 1 && applied == 0 -> applied = 1 }
#ifdef ACK_BEFORE_APPLY
  :: atomic { committed == 1 && !gate && !acked -> acked = true }
#else
#ifdef ACK_BEFORE_DRAIN
  :: atomic { applied == 1 && !acked -> acked = true }
#else
  :: atomic { applied == 1 && !gate && !acked -> acked = true }
#endif
#endif
  od
}

proctype Restart() provided (!over) {
  if
  :: atomic { !gate -> applied = 0; end = 0; min = 0; end2 = 0; min2 = 0;
#ifndef GRANT_AFTER_RESTART
       asked = 0; askedAt = 0;
#endif
       skip }
  :: skip
  fi
}

/* Holder: Ask and Accept. */
proctype Holder() provided (!over) {
  byte id, idx;
end_h:
  do
  :: atomic { next <= REQUESTS && now < HORIZON ->        /* an earlier question is given up */
       asked = next; next++; askedAt = now;
       if :: ask1!asked :: term == 2 -> ask2!asked :: skip fi }
  :: atomic { grants?id,idx ->
#ifdef NO_NONCE
       if :: asked != 0 ->
#else
       if :: id == asked ->
#endif
#ifdef LEASE_FROM_RECEIPT
            askedAt = now;
#endif
            if
            :: applied >= idx || end <= now ->              /* it serves, or nothing else does */
                 end = askedAt + LEASE; min = idx; end2 = 0; min2 = 0
            :: else ->                                      /* the lease in use is kept beside it */
#ifdef EXTEND_OLD
                 end = askedAt + LEASE
#else
                 end2 = askedAt + LEASE; min2 = idx
#endif
            fi;
            asked = 0; askedAt = 0
       :: else -> skip
       fi;
       id = 0; idx = 0 }
  od
}

/* The release gate, and the client behind it with its own deadline. */
proctype Sign() provided (!over) {
  byte sentAt;
  atomic { applied == 0 && USABLE -> sentAt = now };       /* a request is admitted */
  /* the key store signs, for any length of time */
#ifdef NO_GATE
  assert(!fenced);
#else
  atomic { if :: applied == 0 -> gate = true :: else -> goto out fi };    /* lock, look at the state */
#ifdef SPLIT_GATE
  /* what would be promised if fenced meant bytes on the wire and not the gate */
  atomic { if :: USABLE -> skip :: else -> gate = false; goto out fi };
  atomic { assert(!fenced); gate = false };
#else
  atomic { gate = false; if :: USABLE -> assert(!fenced) :: else -> goto out fi };
#endif
#endif
  /* the answer is on its way, for any length of time */
  atomic {
    if
    :: now - sentAt <= AGE ->
#ifdef NO_SETTLE
         assert(!fenced)
#else
         assert(!settled)
#endif
    :: else
    fi };
out:
  over = true
}

/* The fence of R: run by the leader who committed it, or taken up by the next. */
proctype Fence() provided (!over) {
  byte t;
  atomic { t = term; committed = 1; known[t] = 1 }
  if :: skip :: term == 2 -> t = 2 fi;
  if
  :: acked
#ifdef NO_WAIT
  :: true
#else
#ifdef NO_ELECTION_WAIT
  :: now >= bound[t]
#else
  :: now >= bound[t] && (t == 1 || now >= electedAt + LEASE)
#endif
#endif
  fi;
  atomic { fenced = true; t = now };
  (now >= t + AGE + 1) -> settled = true
}

init { atomic { run Clock(); run Leader(1); run Leader(2); run Election(); run Apply(); run Restart();
                run Holder(); run Sign(); run Fence() } }
