// peer ROOT PORT: net/http with every file of ROOT in memory.
package main

import (
	"io/fs"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
)

type file struct {
	body   []byte
	length string
}

func main() {
	root, port := os.Args[1], os.Args[2]
	files := map[string]file{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := os.ReadFile(path)
		files[path[len(root):]] = file{body, strconv.Itoa(len(body))}
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	handler := func(w http.ResponseWriter, r *http.Request) {
		found, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		head := w.Header()
		head["Content-Type"] = []string{"text/plain"}
		head["Content-Length"] = []string{found.length}
		w.Write(found.body)
	}
	log.Fatal(http.ListenAndServe(":"+port, http.HandlerFunc(handler)))
}
