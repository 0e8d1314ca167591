module testcast.example/go

go 1.23
