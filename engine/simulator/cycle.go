package simulator

// cycleSeconds is how long every cycle lasts.
const cycleSeconds = 60

// cycleSource returns one shape of a cycle record. Busy ones, with nodes that join and refresh,
// carry most of a cycle stream's bytes.
func cycleSource(r *random, p *population) object {
	var nextHash int
	fresh := func() words { nextHash++; return hash(nextHash - 1) }
	ids := func(most int) list {
		var out list
		for _, n := range some(r, p.nodes, r.IntN(most+1)) {
			out = append(out, n.id)
		}
		return out
	}
	keys := func(most int) list {
		var out list
		for _, n := range some(r, p.nodes, r.IntN(most+1)) {
			out = append(out, n.publicKey)
		}
		return out
	}

	var joined, joinedConsensors, refreshed, standbyAdd, txadd, refreshedArchivers list
	for range r.between(2, 4) {
		c := consensor(r)
		joined = append(joined, c["publicKey"])
		joinedConsensors = append(joinedConsensors, c)
	}
	for range r.between(1, 4) {
		c := consensor(r)
		c["status"] = "active"
		refreshed = append(refreshed, c)
	}
	for range r.between(0, 1) {
		standbyAdd = append(standbyAdd, joinRequest(r, p))
	}
	for _, a := range some(r, p.archivers, r.IntN(3)) {
		refreshedArchivers = append(refreshedArchivers, a)
	}
	if r.chance(0.3) {
		txadd = list{object{
			"cycle": bare(slotCounter, 0), "hash": fresh(), "priority": 0, "subQueueKey": r.hex(32),
			"txData": object{"endTime": bare(slotSeconds, 0), "nodeId": pick(r, p.nodes).id, "publicKey": pick(r, p.nodes).publicKey, "startTime": bare(slotSeconds, -3600_000)},
			"type":   "nodeReward",
		}}
	}

	return object{
		"counter":     bare(slotCounter, 0),
		"cycleMarker": quoted(slotMarker),
		"cycleRecord": object{
			"activated":           ids(3),
			"activatedPublicKeys": keys(3),
			"active":              len(p.nodes),
			"apoptosized":         ids(1),
			"appRemoved":          list{},
			"archiverListHash":    fresh(),
			"archiversAtShutdown": list{},
			"certificate":         object{"marker": quoted(slotMarker), "score": r.between(1, 255), "sign": p.signed(r)},
			"counter":             bare(slotCounter, 0),
			"desired":             len(p.nodes) + r.between(-2, 6),
			"duration":            cycleSeconds,
			"expired":             r.IntN(4),
			"finishedSyncing":     ids(3),
			"joined":              joined,
			"joinedArchivers":     list{},
			"joinedConsensors":    joinedConsensors,
			"leavingArchivers":    list{},
			"lost":                ids(2),
			"lostAfterSelection":  list{},
			"lostArchivers":       list{},
			"lostSyncing":         list{},
			"marker":              quoted(slotMarker),
			"maxSyncTime":         pick(r, []int{600, 1200, 1234}),
			"mode":                "processing",
			"networkConfigHash":   r.hex(32),
			"networkDataHash":     list{},
			"networkId":           p.network,
			"networkReceiptHash":  list{},
			"networkStateHash":    "",
			"networkSummaryHash":  list{},
			"nodeListHash":        fresh(),
			"previous":            quoted(slotPrevious),
			"random":              r.IntN(1 << 31),
			"refreshedArchivers":  refreshedArchivers,
			"refreshedConsensors": refreshed,
			"refuted":             list{},
			"refutedArchivers":    list{},
			"removed":             ids(2),
			"removedArchivers":    list{},
			"returned":            list{},
			"safetyMode":          false,
			"safetyNum":           0,
			"standby":             r.IntN(400),
			"standbyAdd":          standbyAdd,
			"standbyNodeListHash": fresh(),
			"standbyRefresh":      keys(5),
			"standbyRemove":       list{},
			"start":               bare(slotStart, 0),
			"startedSyncing":      ids(3),
			"syncing":             r.IntN(6),
			"target":              len(p.nodes) + r.between(-1, 3),
			"txadd":               txadd,
			"txlisthash":          fresh(),
			"txremove":            list{},
		},
	}
}

// joinRequest is a node's request to stand by, with the certificate of its stake.
func joinRequest(r *random, p *population) object {
	proof := words{`{"compute":{"hash":"` + r.hex(32) + `","nonce":"` + r.hex(32) + `"}}`}
	return object{
		"appJoinData": object{
			"adminCert": nil, "isInternalIp": false, "mustUseAdminCert": false,
			"stakeCert": object{
				"certExp": bare(slotTime, 86_400_000), "nominator": "0x" + r.hex(20), "nominee": r.hex(32),
				"sign": p.signed(r), "signs": list{p.signed(r), p.signed(r)}, "stake": amount(r.big(9)),
			},
			"version": "1.19.3",
		},
		"cycleMarker":  quoted(slotPrevious),
		"nodeInfo":     candidate(r),
		"proofOfWork":  proof,
		"selectionNum": r.hex(32),
		"sign":         p.signed(r),
		"version":      "3.7.1",
	}
}
