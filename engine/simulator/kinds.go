package simulator

import (
	"encoding/hex"
	"math/big"
	"strings"
)

// The events that wallets and exchanges log, by the hash of their signature.
const (
	topicTransfer = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
	topicApproval = "0x8c5be1e5ebec7d5bd14f71427d1e84f3dd0314c0f7b2291e5b200ac8c7c3b925"
	topicSwap     = "0xd78ad95fa46c994b6551d0da85fc275fe613ce37657fb8d5e3d130840159d822"
	topicSync     = "0x1c411e9a96e071241c2f21f7726b17ae89e3cab4c78be50e062b03a9fffbbad1"
)

// Hashes of no code and of an empty storage trie: every plain account holds them.
var (
	noCode    = unhex("0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470")
	noStorage = unhex("0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421")
)

// transfer moves coins between two holders.
func transfer(d *draft) {
	to := pick(d.r, d.p.holders)
	d.to, d.value = to.address, d.r.big(7)
	d.touch(d.from)
	if d.to != d.from {
		d.touch(d.to)
	}
}

// failedCall is a token call that was reverted: gas is paid, nothing else happens.
func failedCall(d *draft) {
	d.to = pick(d.r, d.p.contracts).address
	d.data = append(unhex("0xa9059cbb"), d.r.bytes(32*d.r.between(2, 5))...)
	d.gas += d.r.IntN(90_000)
	d.failure = pick(d.r, []string{"ERC20: transfer amount exceeds balance", "execution reverted: \"¡no!\"", "revert \u2028 line separator", "out of gas"})
	d.touch(d.from)
}

// tokenCall is a transfer of a token, or leave to transfer it.
func tokenCall(d *draft) {
	token, to := pick(d.r, d.p.contracts), pick(d.r, d.p.holders)
	call, topic := "0xa9059cbb", topicTransfer
	if d.r.chance(0.2) {
		call, topic = "0x095ea7b3", topicApproval
	}
	sum := word(d.r.bytes(10))
	d.to = token.address
	d.data = append(append(unhex(call), word(unhex(to.address))...), sum...)
	d.gas = 46_000 + d.r.IntN(20_000)
	d.touch(d.from)
	d.storage(token.address)
	d.log(token.address, sum, topic, padded(d.from), padded(to.address))
	if d.r.chance(0.3) {
		d.token = &token
	}
}

// swap goes through some pools of an exchange.
func swap(d *draft) {
	d.to = pick(d.r, d.p.routers)
	hops := d.r.between(1, 2)
	d.data = append(unhex("0x38ed1739"), d.r.bytes(32*(14+3*hops))...)
	d.gas = 120_000 + hops*70_000
	d.touch(d.from)
	for range hops {
		token, pool := pick(d.r, d.p.contracts), "0x"+d.r.hex(20)
		d.log(token.address, word(d.r.bytes(11)), topicTransfer, padded(d.from), padded(pool))
		d.log(pool, append(word(d.r.bytes(12)), word(d.r.bytes(12))...), topicSync)
		d.log(pool, append(word(d.r.bytes(9)), word(d.r.bytes(9))...), topicSwap, padded(d.to), padded(d.from))
		d.storage(token.address)
	}
}

// deployment brings a contract: its account and its code.
func deployment(d *draft) {
	code := d.r.bytes(d.r.between(500, 1800))
	d.data = append(unhex("0x608060405234801561001057600080fd5b50"), code...)
	d.gas = 900_000 + d.r.IntN(2_000_000)
	at := "0x" + d.r.hex(20)
	d.contract = at
	d.touch(d.from)
	codeHash := d.r.bytes(32)
	d.put(accountID(at), object{
		"account":     object{"balance": amount(new(big.Int)), "codeHash": codeHash, "nonce": amount(big.NewInt(1)), "storageRoot": d.r.bytes(32)},
		"accountType": 0, "ethAddress": at,
	})
	d.put(words{at[2:10], slot{kind: slotHash, arg: d.register(), from: 8}}, object{
		"accountType": 2, "codeByte": code, "codeHash": codeHash, "contractAddress": at, "ethAddress": at,
	})
}

// internalAddress is where internal transactions go to.
const internalAddress = "0x0000000000000000000000000000000000010000"

// nodeReward is an internal transaction: a node is paid for its work.
func nodeReward(d *draft) {
	n := pick(d.r, d.p.nodes)
	d.internal = d.r.between(5, 8)
	d.to, d.gas = internalAddress, 0
	if d.r.chance(0.5) {
		d.stake = object{"nominee": n.publicKey, "reward": hexNumber(d.r.big(8)), "stake": "0x8ac7230489e80000", "totalUnstakeAmount": hexNumber(d.r.big(8))}
	}
	d.put(n.publicKey, object{
		"accountType": 9,
		"id":          n.publicKey,
		"nodeAccountStats": object{
			"history": list{object{"b": bare(slotSeconds, -300_000), "e": bare(slotSeconds, 0)}}, "isShardeumRun": false,
			"lastPenaltyTime": 0, "penaltyHistory": list{}, "totalPenalty": amount(new(big.Int)), "totalReward": amount(d.r.big(8)),
		},
		"nominator":       "0x" + d.r.hex(20),
		"penalty":         amount(new(big.Int)),
		"reward":          amount(d.r.big(8)),
		"rewardEndTime":   bare(slotSeconds, 0),
		"rewardRate":      amount(big.NewInt(1_000_000_000_000_000_000)),
		"rewardStartTime": bare(slotSeconds, -1_800_000),
		"rewarded":        d.r.chance(0.5),
		"stakeLock":       amount(d.r.big(9)),
		"stakeTimestamp":  bare(slotTime, -86_400_000),
	})
}

// certificate is an internal transaction: a node shows what others certified of its stake.
func certificate(d *draft) {
	n := pick(d.r, d.p.nodes)
	d.internal, d.to, d.gas = 5, internalAddress, 0
	signs := list{}
	for range 3 {
		signs = append(signs, object{"owner": pick(d.r, d.p.nodes).publicKey, "sig": d.r.hex(96)})
	}
	d.cert = object{
		"certExp": bare(slotTxTime, 86_400_000), "nominator": d.from, "nominee": n.publicKey,
		"signs": signs, "stake": amount(d.r.big(9)),
	}
	d.touch(d.from)
}

// networkAccount is the one account that belongs to the network.
const networkAccount = "1000000000000000000000000000000000000000000000000000000000000001"

// networkChange sets parameters of the whole network.
func networkChange(d *draft) {
	d.global, d.internal, d.to, d.gas = true, 3, internalAddress, 0
	eighteen := big.NewInt(1_000_000_000_000_000_000)
	ten := new(big.Int).Mul(eighteen, big.NewInt(10))
	d.put(networkAccount, object{
		"accountType": 5,
		"current": object{
			"activeVersion": "1.19.3", "archiver": object{"activeVersion": "3.7.7", "latestVersion": "3.7.7", "minVersion": "3.7.0"},
			"certCycleDuration": 30, "description": "These are the initial network parameters Shardeum started with",
			"latestVersion": "1.19.3", "maintenanceFee": 0, "maintenanceInterval": 86_400_000, "minVersion": "1.19.0",
			"nodePenaltyUsd": amount(ten), "nodeRewardAmountUsd": amount(eighteen), "nodeRewardInterval": 3_600_000, "restakeCooldown": 1_800_000,
			"slashing": object{
				"enableLeftNetworkEarlySlashing": true, "leftNetworkEarlyPenaltyPercent": literal("0.2"),
				"nodeRefutedPenaltyPercent": literal("0.2"), "syncTimeoutPenaltyPercent": literal("1e-7"),
			},
			"stabilityScaleDiv": 1000, "stabilityScaleMul": 1000, "stakeRequiredUsd": amount(ten), "title": "Initial parameters",
			"txFeeUsd": amount(d.r.big(7)), "txPause": false,
		},
		"id": networkAccount,
		"listOfChanges": list{object{
			"appData": object{}, "change": object{"p2p": object{"maxNodes": d.r.between(700, 1280), "minNodes": d.r.between(10, 640)}},
			"cycle": bare(slotTxCycle, 3),
		}},
		"mode": "release", "networkId": d.p.network, "next": object{},
	})
}

// touch changes a holder's account: as it was, and as it is.
func (d *draft) touch(addr string) {
	account := func(at slot) object {
		return object{
			"account":     object{"balance": amount(d.r.big(9)), "codeHash": noCode, "nonce": amount(big.NewInt(int64(d.nonce))), "storageRoot": noStorage},
			"accountType": 0, "ethAddress": addr, "timestamp": at,
		}
	}
	d.before = append(d.before, d.state(accountID(addr), account(bare(slotTime, -d.r.between(1000, 9_000_000)))))
	now := account(bare(slotTime, 0))
	if d.r.chance(0.08) {
		now["operatorAccountInfo"] = object{
			"certExp": bare(slotTime, 3_600_000), "nominee": pick(d.r, d.p.nodes).publicKey,
			"operatorStats": object{
				"history": list{}, "isShardeumRun": false, "lastStakedNodeKey": "", "totalNodePenalty": amount(new(big.Int)),
				"totalNodeReward": amount(d.r.big(8)), "totalNodeTime": d.r.IntN(99_999), "totalUnstakeReward": amount(new(big.Int)), "unstakeCount": 0,
			},
			"stake": amount(d.r.big(9)),
		}
	}
	d.after = append(d.after, d.state(accountID(addr), now))
}

// storage changes one slot of a contract's storage that every copy of the template makes anew,
// so that the number of accounts grows as on a real network.
func (d *draft) storage(addr string) {
	id := words{addr[2:10], slot{kind: slotHash, arg: d.register(), from: 8}}
	key := hexHash(d.register())
	body := func(at slot) object {
		return object{
			"accountType": 1, "ethAddress": addr, "key": key, "timestamp": at,
			"value": append([]byte{0xa0}, word(d.r.bytes(9))...),
		}
	}
	d.before = append(d.before, d.state(id, body(bare(slotTime, -5000))))
	d.after = append(d.after, d.state(id, body(bare(slotTime, 0))))
}

func (d *draft) put(id any, body object) {
	body["timestamp"] = bare(slotTime, 0)
	d.after = append(d.after, d.state(id, body))
}

func (d *draft) state(id any, body object) state {
	s := state{id: id, body: body, hash: hash(d.register())}
	body["hash"] = s.hash
	return s
}

// log adds an event, in both of the spellings that a receipt holds.
func (d *draft) log(addr string, data []byte, topics ...string) {
	var texts, raw list
	for _, t := range topics {
		texts = append(texts, t)
		raw = append(raw, unhex(t))
	}
	d.logs = append(d.logs, object{
		"address": addr, "blockHash": hexHash(blockHash), "blockNumber": words{"0x", bare(slotBlock, 0)}, "data": hexText(data),
		"logIndex": hexNumber(big.NewInt(int64(len(d.logs)))), "removed": false, "topics": texts,
		"transactionHash": hexHash(txHash), "transactionIndex": "0x1",
	})
	d.logBytes = append(d.logBytes, list{unhex(addr), raw, data})
}

// accountID is the id of a holder's account: its address, filled up with noughts.
func accountID(addr string) string { return addr[2:] + strings.Repeat("0", 24) }

// word is b as a 32-byte word.
func word(b []byte) []byte { return append(make([]byte, 32-len(b), 32), b...) }

// padded is an address as a log's topic.
func padded(addr string) string { return hexText(word(unhex(addr))) }

func hexText(b []byte) string { return "0x" + hex.EncodeToString(b) }

func hexNumber(n *big.Int) string { return "0x" + n.Text(16) }
