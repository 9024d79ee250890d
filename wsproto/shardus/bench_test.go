package shardus

import (
	"crypto/ed25519"
	"testing"

	voi "github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
)

// benchMix is the firehose of a busy network by count: 49 % receipts, 49 % originalTx, 2 % cycles, taken from the
// realistic vectors and cut to a mean near the 4.3 KB that was measured on a live archiver.
func benchMix(tb testing.TB) (lines [][]byte, bytes int64) {
	tb.Helper()
	var kinds [3][][]byte
	for _, v := range readVectors(tb) {
		if v.Tier == "realistic" {
			i := map[string]int{"cycle": 0, "originalTx": 1, "receipt": 2}[v.Stream]
			kinds[i] = append(kinds[i], v.line())
		}
	}
	for i := range 100 {
		kind := 2 // receipts: 70, originalTx: 28, cycles: 2
		switch {
		case i%50 == 0:
			kind = 0
		case i%10 < 3 && i != 1:
			kind = 1
		}
		line := kinds[kind][i%len(kinds[kind])]
		lines = append(lines, line)
		bytes += int64(len(line))
	}
	return lines, bytes / int64(len(lines))
}

// perRecord runs f over the mix; one iteration is one record.
func perRecord(b *testing.B, f func(line []byte)) {
	lines, mean := benchMix(b)
	b.SetBytes(mean)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		f(lines[i%len(lines)])
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkIsCanonical(b *testing.B) {
	perRecord(b, func(line []byte) {
		if !IsCanonical(line) {
			b.Fatal("not canonical")
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	signer, _ := testSigner(b)
	record, message := make([]byte, 0, 1<<20), make([]byte, 0, 1<<20)
	perRecord(b, func(line []byte) {
		var err error
		if record, err = AppendRecord(record[:0], line); err != nil {
			b.Fatal(err)
		}
		message = signer.AppendMessage(message[:0], "receipt", record)
	})
}

func BenchmarkAppendCanonical(b *testing.B) {
	dst := make([]byte, 0, 1<<20)
	perRecord(b, func(line []byte) {
		var err error
		if dst, err = AppendCanonical(dst[:0], line); err != nil {
			b.Fatal(err)
		}
	})
}

func BenchmarkHash(b *testing.B) {
	_, hashKey := testSigner(b)
	h := newHasher(hashKey)
	perRecord(b, func(line []byte) {
		h.Reset()
		h.Write(line)
		h.sum()
	})
}

func BenchmarkTopLevelInt(b *testing.B) {
	perRecord(b, func(line []byte) { TopLevelInt(line, "cycle") })
}

func BenchmarkVerifyMessage(b *testing.B) {
	signer, hashKey := testSigner(b)
	lines, _ := benchMix(b)
	message := signer.AppendMessage(nil, "receipt", lines[1])
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := VerifyMessage(message, signer.PublicKey(), hashKey); err != nil {
			b.Fatal(err)
		}
	}
}

// The three ways to sign 32 bytes that were compared. Ours is voi's arithmetic with the seed expanded once.
func BenchmarkSign(b *testing.B) {
	secret, err := ParseSecretKey(testSecretKey)
	if err != nil {
		b.Fatal(err)
	}
	var hash [32]byte
	expanded := newExpandedKey(secret)
	for _, way := range []struct {
		name string
		sign func()
	}{
		{"ours", func() { expanded.sign(&hash) }},
		{"voi", func() { voi.Sign(voi.PrivateKey(secret.key[:]), hash[:]) }},
		{"std", func() { ed25519.Sign(ed25519.PrivateKey(secret.key[:]), hash[:]) }},
	} {
		b.Run(way.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				way.sign()
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	signer, _ := testSigner(b)
	var hash [32]byte
	sig := signer.key.sign(&hash)
	public := signer.PublicKey()
	strict := &voi.Options{Verify: &voi.VerifyOptions{CofactorlessVerify: true}}
	for _, way := range []struct {
		name   string
		verify func() bool
	}{
		{"ours", func() bool { return verifyStrict(&public, &hash, &sig) }},
		{"voi", func() bool { return voi.VerifyWithOptions(public[:], hash[:], sig[:], strict) }},
	} {
		b.Run(way.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !way.verify() {
					b.Fatal("wrong")
				}
			}
		})
	}
}
