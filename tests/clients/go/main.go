// fetch BASE ROOT: asks for every file under ROOT, one after the other and then at once, and compares.
package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const atOnce = 8

var client = &http.Client{Timeout: 20 * time.Second}

func get(base, root, path string) {
	answer, err := client.Get(base + path)
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		log.Fatal(err)
	}
	wanted, err := os.ReadFile(root + path)
	if err != nil {
		log.Fatal(err)
	}
	if answer.StatusCode != 200 || !bytes.Equal(body, wanted) {
		log.Fatalf("%s: status %d, %d bytes, not those of the file", path, answer.StatusCode, len(body))
	}
}

func main() {
	base, root := os.Args[1], os.Args[2]
	var paths []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			paths = append(paths, path[len(root):])
		}
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, path := range paths {
		get(base, root, path)
	}
	var all sync.WaitGroup
	for first := 0; first < atOnce; first++ {
		all.Add(1)
		go func(first int) {
			defer all.Done()
			for i := first; i < len(paths); i += atOnce {
				get(base, root, paths[i])
			}
		}(first)
	}
	all.Wait()
	fmt.Printf("%d right\n", 2*len(paths))
}
