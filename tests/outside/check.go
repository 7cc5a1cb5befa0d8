// Checks a log with golang.org/x/mod/sumdb, which nobody here wrote: signatures with note, proofs with tlog.
//
// usage: check DIR. In DIR: vkey, checkpoint, perhaps checkpoint.before, tile/… as they are served, and leaves, a line
// an entry: its index, a tab, its bytes. Prints what is wrong, a line each, and exits with 1; or what holds.
package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func must(err error) {
	if err != nil {
		fmt.Println("BAD", err)
		os.Exit(1)
	}
}

// tiles reads the layout of C2SP tlog-tiles, whose addresses have no height.
type tiles struct{ dir string }

func (t tiles) Height() int { return 8 }

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range wanted {
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		hashes, err := os.ReadFile(filepath.Join(t.dir, path))
		if err != nil {
			return nil, err
		}
		all = append(all, hashes)
	}
	return all, nil
}

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func checkpoint(dir, name string) tlog.Tree {
	vkey, err := os.ReadFile(filepath.Join(dir, "vkey"))
	must(err)
	verifier, err := note.NewVerifier(strings.Split(string(vkey), "\n")[0])
	must(err)
	signed, err := os.ReadFile(filepath.Join(dir, name))
	must(err)
	opened, err := note.Open(signed, note.VerifierList(verifier))
	must(err)
	lines := strings.Split(opened.Text, "\n")
	if lines[0] != verifier.Name() {
		must(fmt.Errorf("the origin is %q, the key's name %q", lines[0], verifier.Name()))
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	must(err)
	root, err := base64.StdEncoding.DecodeString(lines[2])
	must(err)
	tree := tlog.Tree{N: size}
	copy(tree.Hash[:], root)
	return tree
}

func main() {
	dir := os.Args[1]
	tree := checkpoint(dir, "checkpoint")
	reader := tlog.TileHashReader(tree, tiles{dir})
	if _, err := os.Stat(filepath.Join(dir, "checkpoint.before")); err == nil {
		before := checkpoint(dir, "checkpoint.before")
		proof, err := tlog.ProveTree(tree.N, before.N, reader)
		must(err)
		must(tlog.CheckTree(proof, tree.N, tree.Hash, before.N, before.Hash))
		fmt.Printf("CONSISTENT %d %d\n", before.N, tree.N)
	}
	file, err := os.Open(filepath.Join(dir, "leaves"))
	must(err)
	lines := bufio.NewScanner(file)
	lines.Buffer(make([]byte, 1<<20), 1<<20)
	wrong := 0
	next := int64(0)
	for lines.Scan() {
		index, leaf, _ := strings.Cut(lines.Text(), "\t")
		i, err := strconv.ParseInt(index, 10, 64)
		must(err)
		for ; next < i; next++ {
			wrong++
			fmt.Println("MISSING", next)
		}
		next++
		proof, err := tlog.ProveRecord(tree.N, i, reader)
		must(err)
		if tlog.CheckRecord(proof, tree.N, tree.Hash, i, tlog.RecordHash([]byte(leaf))) != nil {
			wrong++
			fmt.Println("CHANGED", i)
		}
	}
	must(lines.Err())
	for ; next < tree.N; next++ {
		wrong++
		fmt.Println("MISSING", next)
	}
	if wrong > 0 {
		os.Exit(1)
	}
	fmt.Printf("INCLUDED %d\n", next)
}
