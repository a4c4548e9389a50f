GRANT ALL ON *.* TO 'goodpon'@'%';
