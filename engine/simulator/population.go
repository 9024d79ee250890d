package simulator

import (
	"fmt"
	"math/big"
)

// population is who acts in a world: made once from the seed, named by every template.
type population struct {
	network   string
	nodes     []node
	archivers []object
	holders   []holder
	contracts []contract
	routers   []string // addresses of exchanges
}

type node struct{ id, publicKey string }

type holder struct {
	address string // 0x…
	balance *big.Int
	nonce   int
}

type contract struct{ address, name, symbol string }

func newPopulation(r *random) *population {
	p := &population{network: r.hex(32)}
	for range 64 {
		p.nodes = append(p.nodes, node{id: r.hex(32), publicKey: r.hex(32)})
	}
	for range 3 {
		p.archivers = append(p.archivers, object{"curvePk": r.hex(32), "ip": address(r), "port": 4000 + r.IntN(10), "publicKey": r.hex(32)})
	}
	for range 96 {
		p.holders = append(p.holders, holder{"0x" + r.hex(20), r.big(9), r.IntN(400)})
	}
	// Text beyond ASCII and text that needs escapes are ordinary in token names.
	for _, t := range [][2]string{{"Liberdus", "LIB"}, {"USD Coin", "USDC"}, {"Wrapped SHM", "⚡SHM"}, {"Würfel 🎲", "DICE"}, {"テスト", "TST"}, {`The "Quoted" Token`, `T"Q\`}} {
		p.contracts = append(p.contracts, contract{"0x" + r.hex(20), t[0], t[1]})
	}
	p.routers = []string{"0x" + r.hex(20), "0x" + r.hex(20)}
	return p
}

// address returns an IP address of no real network (198.18.0.0/15 is set aside for benchmarks).
func address(r *random) string {
	return fmt.Sprintf("198.%d.%d.%d", 18+r.IntN(2), r.IntN(256), r.between(1, 254))
}

// signed is a participant's sign member.
func (p *population) signed(r *random) object {
	return object{"owner": pick(r, p.nodes).publicKey, "sig": quoted(slotSig)}
}

// candidate is a node that asks to join, as nodes and cycles describe it.
func candidate(r *random) object {
	ip, port := address(r), 9001+r.IntN(20)
	return object{
		"activeCycle": 0, "activeTimestamp": 0, "address": r.hex(32),
		"externalIp": ip, "externalPort": port, "internalIp": ip, "internalPort": port + 1000,
		"joinRequestTimestamp": bare(slotSeconds, -r.between(100, 90_000)*1000), "publicKey": r.hex(32),
		"readyTimestamp": 0, "syncingTimestamp": bare(slotSeconds, -r.between(10, 90)*1000),
	}
}

// consensor is a candidate that has a place in the network.
func consensor(r *random) object {
	o := candidate(r)
	o["counterRefreshed"] = r.between(1, 400)
	o["curvePublicKey"] = r.hex(32)
	o["cycleJoined"] = r.hex(32)
	o["foundationNode"] = r.chance(0.3)
	o["id"] = r.hex(32)
	return o
}
